{{/* Names of what operators make here. */}}
{{- define "soma.kafkaName" -}}{{ include "soma.fullname" . }}-kafka{{- end -}}
{{- define "soma.postgresName" -}}{{ include "soma.fullname" . }}-postgres{{- end -}}

{{/* The user of Kafka and the login of PostgreSQL of a process. */}}
{{- define "soma.kafkaUser" -}}{{ include "soma.fullname" .root }}-{{ .process }}{{- end -}}
{{- define "soma.postgresSecret" -}}
{{- with .root.Values.operators.cloudnativepg -}}
{{- if eq $.process "api" -}}{{ .apiSecret }}{{- else if eq $.process "operator" -}}{{ .ownerSecret }}{{- else -}}{{ .workerSecret }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Settings that follow from what operators make here, JSON; values come before them. Takes root and process. */}}
{{- define "soma.operatorSettings" -}}
{{- $settings := dict -}}
{{- if .root.Values.operators.strimzi.enabled -}}
{{- $_ := set $settings "kafka" (dict
      "bootstrap_servers" (printf "%s-kafka-bootstrap:9093" (include "soma.kafkaName" .root))
      "security_protocol" "SASL_SSL"
      "sasl_username" (include "soma.kafkaUser" .)) -}}
{{- end -}}
{{- if .root.Values.operators.cloudnativepg.enabled -}}
{{- $_ := set $settings "postgres" (dict
      "host" (printf "%s-rw" (include "soma.postgresName" .root))
      "sslmode" "verify-full") -}}
{{- end -}}
{{- toJson $settings -}}
{{- end -}}

{{/* Likewise, of secrets and files. */}}
{{- define "soma.operatorSecrets" -}}
{{- $secrets := dict -}}
{{- if .root.Values.operators.strimzi.enabled -}}
{{- $_ := set $secrets "kafka" (dict
      "sasl_password" (dict "secret" (include "soma.kafkaUser" .) "key" "password")
      "ssl_ca_file" (dict "secret" (printf "%s-cluster-ca-cert" (include "soma.kafkaName" .root)) "key" "ca.crt")) -}}
{{- end -}}
{{- if .root.Values.operators.cloudnativepg.enabled -}}
{{- $_ := set $secrets "postgres" (dict
      "password" (dict "secret" (include "soma.postgresSecret" .) "key" "password")
      "ca_file" (dict "secret" (printf "%s-ca" (include "soma.postgresName" .root)) "key" "ca.crt")) -}}
{{- end -}}
{{- toJson $secrets -}}
{{- end -}}

{{/* What the topics are called, before their own names. */}}
{{- define "soma.topicPrefix" -}}
{{- index (index .Values.settings "topics" | default dict) "prefix" | default "" -}}
{{- end -}}

{{/* Who of the release may call what an operator makes, as a peer of a policy. */}}
{{- define "soma.ownPods" -}}
podSelector:
  matchLabels: {{- include "soma.selector" . | nindent 4 }}
{{- end -}}
