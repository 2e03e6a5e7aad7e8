{{- define "exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The name of most objects. A StatefulSet's name has at most 52 characters, because a label of its pods adds a hash to it.
A longer name ends in a hash of the whole name, so that two long release names do not get the same one.
*/}}
{{- define "exporter.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- end -}}
{{- if gt (len $name) 52 -}}
{{- $name = printf "%s-%s" (trunc 43 $name | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/*
metadata of an object: dict "root" $ "name" NAME, optionally "namespace", "labels" and "annotations".
"namespace" is false for objects that have none.
*/}}
{{- define "exporter.metadata" -}}
{{- $root := .root -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" (replace "+" "_" $root.Chart.AppVersion)
  "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $selector := include "exporter.selectorLabels" $root | fromYaml -}}
metadata:
  name: {{ .name }}
  {{- if not (eq (toString .namespace) "false") }}
  namespace: {{ default (include "exporter.namespace" $root) .namespace }}
  {{- end }}
  labels:
    {{- merge $selector (default dict .labels) $own $root.Values.commonLabels | toYaml | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "exporter.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- $repository := list $registry .Values.image.repository | compact | join "/" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The content of a YAML file, from an object or a string. */}}
{{- define "exporter.yaml" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "exporter.webSecretName" -}}
{{- if .Values.web.existingSecret -}}
{{- .Values.web.existingSecret -}}
{{- else if .Values.web.config -}}
{{- include "exporter.fullname" . }}-web
{{- end -}}
{{- end -}}

{{/* The scheme of scrapes: as given, else by the certificate in web.config. */}}
{{- define "exporter.scheme" -}}
{{- $web := include "exporter.yaml" .root.Values.web.config | fromYaml -}}
{{- default (ternary "https" "http" (hasKey $web "tls_server_config")) .scheme -}}
{{- end -}}

{{/* The path of --web.external-url, without a slash at its end. */}}
{{- define "exporter.pathPrefix" -}}
{{- with .Values.web.externalUrl -}}
{{- get (urlParse .) "path" | trimSuffix "/" -}}
{{- end -}}
{{- end -}}

{{/* A generated file, with the addresses of this installation. */}}
{{- define "exporter.generatedFile" -}}
{{- $text := .root.Files.Get .file | required (printf "%s is missing from the chart" .file) -}}
{{- with .root.Values.runbooksUrl }}{{ $text = replace "https://runbooks.example.com/cloudsql-backup" (trimSuffix "/" .) $text }}{{ end -}}
{{- with .root.Values.web.grafanaUrl }}{{ $text = replace "https://grafana.example.com" (trimSuffix "/" .) $text }}{{ end -}}
{{- $text -}}
{{- end -}}

{{/* The groups of a generated rules file and the additional ones. */}}
{{- define "exporter.ruleGroups" -}}
{{- include "exporter.generatedFile" . | trim }}
{{- with .additionalGroups }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}
