# Least privilege for cloudsql-backup-exporter: a custom role with exactly the permissions that it uses, an identity,
# and the bindings between them.

locals {
  # By the collection that needs them; tests compare them with the requests that the exporter sends.
  permissions_by_purpose = {
    polls             = ["cloudsql.backupRuns.get", "cloudsql.backupRuns.list", "cloudsql.instances.list"]
    recovery_times    = ["cloudsql.instances.get"]
    deleted_instances = ["cloudsql.backupRuns.list"]
    backup_dr         = ["backupdr.backupPlanAssociations.list", "backupdr.backupPlans.list"]
    discovery = [
      "cloudasset.assets.searchAllResources",
      "resourcemanager.folders.get",
      "resourcemanager.projects.get",
    ]
  }
  discovers = length(var.folders) > 0 || var.read_organization
  purposes = concat(
    ["polls"],
    var.collect.recovery_times ? ["recovery_times"] : [],
    var.collect.deleted_instances ? ["deleted_instances"] : [],
    var.collect.backup_dr ? ["backup_dr"] : [],
  )
  permissions           = sort(distinct(flatten([for purpose in local.purposes : local.permissions_by_purpose[purpose]])))
  discovery_permissions = sort(concat(local.permissions, local.permissions_by_purpose.discovery))

  identified     = var.workload_identity != "direct" || var.kubernetes.project_number != null
  identity_error = "Set kubernetes.project_number: workload_identity = \"direct\" needs the number of the project of the cluster."

  role_id = "cloudsqlBackupExporter"
  title   = "Cloud SQL backup exporter"

  service_account_member = var.workload_identity == "direct" ? null : "serviceAccount:${google_service_account.exporter[0].email}"
  pool                   = coalesce(var.kubernetes.pool, "${var.project}.svc.id.goog")
  direct_member = format(
    "principal://iam.googleapis.com/projects/%s/locations/global/workloadIdentityPools/%s/subject/ns/%s/sa/%s",
    var.kubernetes.project_number == null ? "" : var.kubernetes.project_number, local.pool, var.kubernetes.namespace,
    var.kubernetes.service_account,
  )
  member = var.workload_identity == "direct" ? local.direct_member : local.service_account_member

  # In each project that is read: without the API there, Google refuses the requests.
  project_apis = concat(["sqladmin.googleapis.com"], var.collect.backup_dr ? ["backupdr.googleapis.com"] : [])
  # Once, in the project of the exporter.
  own_apis = concat(
    ["sqladmin.googleapis.com", "iam.googleapis.com", "cloudresourcemanager.googleapis.com"],
    local.discovers ? ["cloudasset.googleapis.com"] : [],
    var.workload_identity == "impersonate" ? ["iamcredentials.googleapis.com"] : [],
    var.collect.backup_dr ? ["backupdr.googleapis.com"] : [],
  )
  apis = merge(
    { for api in local.own_apis : "${var.project}/${api}" => { project = var.project, api = api } },
    { for pair in setproduct(setunion(var.projects, var.plan_projects), local.project_apis) :
    "${pair[0]}/${pair[1]}" => { project = pair[0], api = pair[1] } },
  )
}

resource "google_project_service" "api" {
  for_each           = var.enable_apis ? local.apis : {}
  project            = each.value.project
  service            = each.value.api
  disable_on_destroy = false
}

resource "google_service_account" "exporter" {
  count        = var.workload_identity == "direct" ? 0 : 1
  project      = var.project
  account_id   = var.service_account
  display_name = local.title
  description  = "Reads the backups of Cloud SQL; has no permission to change anything."
}

resource "google_service_account_iam_member" "workload_identity" {
  count              = var.workload_identity == "impersonate" ? 1 : 0
  service_account_id = google_service_account.exporter[0].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${local.pool}[${var.kubernetes.namespace}/${var.kubernetes.service_account}]"
}

# For projects: a custom role in each of them.
resource "google_project_iam_custom_role" "reader" {
  for_each    = var.projects
  project     = each.value
  role_id     = local.role_id
  title       = local.title
  description = "Read the runs of backups."
  permissions = local.permissions
}

resource "google_project_iam_member" "reader" {
  for_each = google_project_iam_custom_role.reader
  project  = each.value.project
  role     = each.value.id
  member   = local.member

  lifecycle {
    precondition {
      condition     = local.identified
      error_message = local.identity_error
    }
  }
}

resource "google_project_iam_custom_role" "plans" {
  for_each    = var.collect.backup_dr ? setsubtract(var.plan_projects, var.projects) : []
  project     = each.value
  role_id     = local.role_id
  title       = local.title
  description = "Read backup plans."
  permissions = ["backupdr.backupPlans.list"]
}

resource "google_project_iam_member" "plans" {
  for_each = google_project_iam_custom_role.plans
  project  = each.value.project
  role     = each.value.id
  member   = local.member
}

# For folders or the organization: one custom role in the organization.
resource "google_organization_iam_custom_role" "reader" {
  count       = local.discovers ? 1 : 0
  org_id      = var.organization
  role_id     = local.role_id
  title       = local.title
  description = "Find projects, and read the runs of backups."
  permissions = local.discovery_permissions

  lifecycle {
    precondition {
      condition     = var.organization != null
      error_message = "Set organization: a custom role for folders or an organization is created there."
    }
  }
}

resource "google_folder_iam_member" "reader" {
  for_each = var.folders
  folder   = "folders/${each.value}"
  role     = google_organization_iam_custom_role.reader[0].id
  member   = local.member

  lifecycle {
    precondition {
      condition     = local.identified
      error_message = local.identity_error
    }
  }
}

resource "google_organization_iam_member" "reader" {
  count  = var.read_organization ? 1 : 0
  org_id = var.organization
  role   = google_organization_iam_custom_role.reader[0].id
  member = local.member

  lifecycle {
    precondition {
      condition     = local.identified
      error_message = local.identity_error
    }
  }
}
