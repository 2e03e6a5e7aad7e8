output "member" {
  description = "The identity of the exporter, as IAM policies name it."
  value       = local.member
}

output "service_account_email" {
  description = "For the annotation iam.gke.io/gcp-service-account, or for --service-account of Cloud Run; null with direct workload identity."
  value       = one(google_service_account.exporter[*].email)
}

output "permissions" {
  description = "The permissions of the custom roles in projects; the one in the organization has those to find projects, too."
  value       = local.permissions
}
