{{/*
Settings become variables of the environment. Numbers of values are floating point: a whole one is written as such.
Takes a value.
*/}}
{{- define "soma.settingText" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else if or (kindIs "slice" .) (kindIs "map" .) -}}
{{- toJson . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/*
What a process reads: the parts of it alone, its own before those of all, these before what follows from operators,
without what is unset. Takes a dictionary of root, process, own, all and made. Returns JSON: part -> field -> value.
*/}}
{{- define "soma.merged" -}}
{{- $parts := index (.root.Files.Get "files/processes.json" | fromJson) .process -}}
{{- $merged := dict -}}
{{- range $part := $parts -}}
{{- $fields := merge dict (deepCopy (index $.own $part | default dict)) (deepCopy (index $.all $part | default dict)) (index $.made $part | default dict) -}}
{{- range $field, $value := $fields -}}
{{- if kindIs "invalid" $value -}}{{- $_ := unset $fields $field -}}{{- end -}}
{{- end -}}
{{- if $fields -}}{{- $_ := set $merged $part $fields -}}{{- end -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* The settings of a workload that are no secrets, JSON. Takes a dictionary of root and workload. */}}
{{- define "soma.settings" -}}
{{- $root := .root -}}{{- $workload := .workload -}}
{{- $merged := include "soma.merged" (dict "root" $root "process" $workload.process "own" $workload.values.settings "all" $root.Values.settings "made" (include "soma.operatorSettings" (dict "root" $root "process" $workload.process) | fromJson)) | fromJson -}}
{{- $parts := index ($root.Files.Get "files/processes.json" | fromJson) $workload.process -}}
{{- $own := dict
      "api" (dict "host" "0.0.0.0" "port" 8420.0)
      "worker" (dict "host" "0.0.0.0" "port" 9464.0)
      "lag" (dict "host" "0.0.0.0" "port" 9465.0) -}}
{{- if $root.Values.collector.enabled -}}
{{- $_ := set $own "collector" (dict "url" (printf "http://%s-lag:9465" (include "soma.fullname" $root))) -}}
{{- end -}}
{{- range $part, $fields := $own -}}
{{- if has $part $parts -}}
{{- $_ := set $merged $part (merge $fields (index $merged $part | default dict)) -}}
{{- end -}}
{{- end -}}
{{- range $part, $field := dict "kafka" "bootstrap_servers" "registry" "url" "postgres" "host" "vectors" "url" -}}
{{- if and (has $part $parts) (not (index (index $merged $part | default dict) $field)) -}}
{{- fail (printf "settings.%s.%s is needed: no process finds it by itself" $part $field) -}}
{{- end -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* The secrets and files of a workload, JSON: part -> field -> place. Takes a dictionary of root and workload. */}}
{{- define "soma.secretSettings" -}}
{{- include "soma.merged" (dict "root" .root "process" .workload.process "own" .workload.values.secretSettings "all" .root.Values.secretSettings "made" (include "soma.operatorSecrets" (dict "root" .root "process" .workload.process) | fromJson)) -}}
{{- end -}}

{{/* The environment of a workload. Takes a dictionary of root and workload. */}}
{{- define "soma.environment" -}}
{{- range $part, $fields := include "soma.settings" . | fromJson }}
{{- range $field, $value := $fields }}
- name: SOMA_{{ upper $part }}__{{ upper $field }}
  value: {{ include "soma.settingText" $value | quote }}
{{- end }}
{{- end }}
{{- range $part, $fields := include "soma.secretSettings" . | fromJson }}
{{- range $field, $place := $fields }}
{{- if hasSuffix "_file" $field }}
- name: SOMA_{{ upper $part }}__{{ upper $field }}
  value: /run/files/{{ $part }}.{{ $field }}
{{- end }}
{{- end }}
{{- end }}
- name: SOMA_SECRETS_DIR
  value: /run/secrets/soma
{{- end -}}

{{/* One source of a projected volume. Takes a place and a path. */}}
{{- define "soma.projected" -}}
- {{ ternary "secret" "configMap" (hasKey .place "secret") }}:
    name: {{ .place.secret | default .place.configMap }}
    items: [{key: {{ .place.key | quote }}, path: {{ .path | quote }}}]
{{- end -}}

{{/*
What is mounted into a workload: a folder of secrets, one file each and named like the variable, and a folder of files.
*/}}
{{- define "soma.volumes" -}}
{{- $secrets := list -}}{{- $files := list -}}
{{- range $part, $fields := include "soma.secretSettings" . | fromJson -}}
{{- range $field, $place := $fields -}}
{{- if hasSuffix "_file" $field -}}
{{- $files = append $files (dict "place" $place "path" (printf "%s.%s" $part $field)) -}}
{{- else -}}
{{- $secrets = append $secrets (dict "place" $place "path" (printf "SOMA_%s__%s" (upper $part) (upper $field))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $path := .workload.files | default dict -}}
{{- $files = append $files (dict "place" $path "path" $name) -}}
{{- end -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- range $name, $sources := dict "secrets" $secrets "files" $files }}
- name: {{ $name }}
  projected:
    defaultMode: 0440
    {{- if $sources }}
    sources:
      {{- range $sources }}
      {{- include "soma.projected" . | nindent 6 }}
      {{- end }}
    {{- else }}
    sources: []
    {{- end }}
{{- end }}
{{- end -}}
