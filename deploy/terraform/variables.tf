variable "project" {
  description = "Id of the project in which the exporter runs; its service account is created there."
  type        = string
}

variable "projects" {
  description = "Ids of the projects whose backups are read."
  type        = set(string)
  default     = []
}

variable "folders" {
  description = "Ids (numbers) of folders; the backups of all projects below are read. Requires organization."
  type        = set(string)
  default     = []
}

variable "organization" {
  description = "Id (number) of the organization, in which the custom role is created if there are folders or read_organization."
  type        = string
  default     = null
}

variable "read_organization" {
  description = "Read the backups of all projects of the organization."
  type        = bool
  default     = false
}

variable "collect" {
  description = "What the exporter collects: the keys of the same names in its configuration."
  type = object({
    recovery_times    = optional(bool, false)
    deleted_instances = optional(bool, false)
    backup_dr         = optional(bool, false)
  })
  default = {}
}

variable "plan_projects" {
  description = "Ids of the projects with backup plans, for collect.backup_dr, where they are not read otherwise."
  type        = set(string)
  default     = []
}

variable "service_account" {
  description = "Name of the service account to create, the part before @. Not created with workload_identity = \"direct\"."
  type        = string
  default     = "cloudsql-backup-exporter"
}

variable "workload_identity" {
  description = "How a Kubernetes service account acts: direct (roles are bound to it), impersonate (it acts as the Google service account), or none."
  type        = string
  default     = "none"
  validation {
    condition     = contains(["direct", "impersonate", "none"], var.workload_identity)
    error_message = "Must be direct, impersonate or none."
  }
}

variable "kubernetes" {
  description = "The Kubernetes service account, for workload_identity. pool is by default that of GKE in the project."
  type = object({
    namespace       = optional(string, "monitoring")
    service_account = optional(string, "cloudsql-backup-exporter")
    project_number  = optional(string)
    pool            = optional(string)
  })
  default = {}
}

variable "enable_apis" {
  description = "Enable the APIs that are needed, in the project of the exporter and, where each project needs one, in projects."
  type        = bool
  default     = true
}
