{{/* The pod template of the Deployment and of the StatefulSet. */}}
{{- define "exporter.podTemplate" -}}
{{- $values := .Values -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" "exporter" -}}
{{- if not .Values.existingSecret -}}
{{- $_ := set $annotations "checksum/config" (include "exporter.yaml" .Values.config | sha256sum) -}}
{{- end -}}
metadata:
  annotations:
    {{- merge $annotations .Values.podAnnotations | toYaml | nindent 4 }}
  labels:
    {{- merge (include "exporter.selectorLabels" . | fromYaml) .Values.podLabels | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ include "exporter.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.automountServiceAccountToken }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with concat (default list .Values.global.imagePullSecrets) .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: exporter
      image: {{ include "exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --config.file=/etc/cloudsql-backup-exporter/config.yaml
        - --state.path=/var/lib/exporter/data
        - --web.health-address=:10854
        {{- if include "exporter.webSecretName" . }}
        - --web.config.file=/etc/cloudsql-backup-exporter-web/web.yml
        {{- end }}
        {{- with .Values.web.externalUrl }}
        - {{ printf "--web.external-url=%s" . | quote }}
        {{- end }}
        {{- with .Values.web.alertmanagerUrl }}
        - {{ printf "--web.alertmanager-url=%s" . | quote }}
        {{- end }}
        {{- with .Values.web.grafanaUrl }}
        - {{ printf "--web.grafana-url=%s" . | quote }}
        {{- end }}
        {{- if gt (int .Values.sharding.shards) 1 }}
        - --shard.total={{ .Values.sharding.shards }}
        - --shard.by={{ .Values.sharding.by }}
        {{- end }}
        {{- if ne .Values.log.level "info" }}
        - --log.level={{ .Values.log.level }}
        {{- end }}
        {{- if ne .Values.log.format "logfmt" }}
        - --log.format={{ .Values.log.format }}
        {{- end }}
        {{- range .Values.extraArgs }}
        - {{ quote . }}
        {{- end }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 10853
          protocol: TCP
        - name: health
          containerPort: 10854
          protocol: TCP
      {{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" }}
      {{- with get $values $probe }}
      {{ $probe }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/cloudsql-backup-exporter
          readOnly: true
        {{- if include "exporter.webSecretName" . }}
        - name: web-config
          mountPath: /etc/cloudsql-backup-exporter-web
          readOnly: true
        {{- end }}
        - name: state
          mountPath: /var/lib/exporter
        - name: tmp
          mountPath: /tmp
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      {{- if .Values.existingSecret }}
      secret:
        secretName: {{ .Values.existingSecret }}
      {{- else }}
      configMap:
        name: {{ include "exporter.fullname" . }}-config
      {{- end }}
    {{- with include "exporter.webSecretName" . }}
    - name: web-config
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- if not .Values.persistence.enabled }}
    - name: state
      emptyDir: {}
    {{- else if le (int .Values.sharding.shards) 1 }}
    - name: state
      persistentVolumeClaim:
        claimName: {{ default (printf "%s-state" (include "exporter.fullname" .)) .Values.persistence.existingClaim }}
    {{- end }}
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: 16Mi
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" "hostAliases" "dnsPolicy" "dnsConfig" }}
  {{- with get $values $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* spec of a PersistentVolumeClaim. */}}
{{- define "exporter.volumeClaimSpec" -}}
accessModes:
  {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClass }}
storageClassName: {{ ternary "" . (eq . "-") | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end -}}
