{{/* A destination by its web address, JSON. Takes part, url, and the port where the address has none. */}}
{{- define "soma.webDestination" -}}
{{- $host := (urlParse .url).host -}}
{{- dict "part" .part "host" (regexReplaceAll ":[0-9]+$" $host "") "port" (int (regexFind ":[0-9]+$" $host | trimPrefix ":" | default .usual)) | toJson -}}
{{- end -}}

{{/*
Where a workload's settings lead to, JSON: a list of part, host and port. Takes a dictionary of root and workload.
*/}}
{{- define "soma.destinations" -}}
{{- $settings := include "soma.settings" . | fromJson -}}
{{- $found := list -}}
{{- /* Its address is a secret, so values say where it is. */ -}}
{{- if hasKey (index (include "soma.secretSettings" . | fromJson) "api" | default dict) "rate_limit_store" -}}
{{- $found = append $found (dict "part" "rateLimitStore" "host" "in a secret" "port" (int .root.Values.network.rateLimitStorePort)) -}}
{{- end -}}
{{- with index (index $settings "kafka" | default dict) "oauth_token_url" -}}
{{- $found = append $found (include "soma.webDestination" (dict "part" "tokens" "url" . "usual" 443) | fromJson) -}}
{{- end -}}
{{- range $part, $fields := $settings -}}
{{- if has $part (list "kafka" "read_replicas") -}}
{{- range splitList "," ($fields.bootstrap_servers | default $fields.hosts) -}}
{{- $found = append $found (dict "part" $part "host" (regexReplaceAll ":[0-9]+$" (trim .) "") "port" (int (regexFind "[0-9]+$" (trim .)))) -}}
{{- end -}}
{{- else if eq $part "postgres" -}}
{{- if not (hasPrefix "/" ($fields.host | default "")) -}}
{{- $found = append $found (dict "part" $part "host" $fields.host "port" (int ($fields.port | default 5432))) -}}
{{- end -}}
{{- else -}}
{{- range $field := list "url" "endpoint" "jwks_url" -}}
{{- with index $fields $field -}}
{{- $usual := ternary 6334 (ternary 443 80 (hasPrefix "https:" .)) (eq $part "vectors") -}}
{{- $found = append $found (include "soma.webDestination" (dict "part" $part "url" . "usual" $usual) | fromJson) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/*
What a policy calls the place of a destination, JSON: a list of peers. Takes root, and part, host and port as
`destination`.
*/}}
{{- define "soma.peers" -}}
{{- $root := .root -}}{{- $host := .destination.host -}}
{{- $given := index $root.Values.network.peers .destination.part -}}
{{- if $given -}}
{{- toJson $given -}}
{{- else if eq .destination.part "collector" -}}
{{- $labels := merge (dict "app.kubernetes.io/component" "lag") (include "soma.selector" $root | fromYaml) -}}
{{- list (dict "podSelector" (dict "matchLabels" $labels)) | toJson -}}
{{- else if eq .destination.part "rateLimitStore" -}}
{{- fail "network.peers.rateLimitStore is needed: the address of the store is in a Secret, where no policy finds it" -}}
{{- else if and (eq .destination.part "kafka") $root.Values.operators.strimzi.enabled -}}
{{- list (dict "podSelector" (dict "matchLabels" (dict "strimzi.io/cluster" (include "soma.kafkaName" $root)))) | toJson -}}
{{- else if and (has .destination.part (list "postgres" "read_replicas")) $root.Values.operators.cloudnativepg.enabled -}}
{{- list (dict "podSelector" (dict "matchLabels" (dict "cnpg.io/cluster" (include "soma.postgresName" $root)))) | toJson -}}
{{- else if regexMatch "^([0-9]{1,3}\\.){3}[0-9]{1,3}$" $host -}}
{{- list (dict "ipBlock" (dict "cidr" (printf "%s/32" $host))) | toJson -}}
{{- else if regexMatch "\\.svc(\\.|$)" $host -}}
{{- $namespace := last (splitList "." (first (regexSplit "\\.svc(\\.|$)" $host -1))) -}}
{{- list (dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" $namespace))) | toJson -}}
{{- else if not (contains "." $host) -}}
{{- list (dict "podSelector" (dict)) | toJson -}}
{{- else -}}
{{- fail (printf "network.peers.%s is needed: %s is no name of a service, and a NetworkPolicy knows addresses, not names" .destination.part $host) -}}
{{- end -}}
{{- end -}}

{{/* What a workload may call, as rules of a policy. Takes a dictionary of root and workload. */}}
{{- define "soma.egress" -}}
- to: {{- toYaml .root.Values.network.dns.peers | nindent 4 }}
  ports:
    {{- range .root.Values.network.dns.ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- $rules := list -}}
{{- range $destination := include "soma.destinations" . | fromJsonArray -}}
{{- $peers := include "soma.peers" (dict "root" $.root "destination" $destination) | fromJsonArray -}}
{{- $rule := dict "to" $peers "ports" (list (dict "protocol" "TCP" "port" $destination.port)) -}}
{{- if not (has $rule $rules) -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- if $rules }}
{{ toYaml $rules }}
{{- end -}}
{{- end -}}
