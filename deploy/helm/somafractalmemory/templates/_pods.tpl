{{/*
What runs all the time, JSON: a list of workloads. `drain` names the setting for how long it may take to end, and the
model's default.
*/}}
{{- define "soma.workloads" -}}
{{- $workloads := list
      (dict "name" "api" "process" "api" "args" (list "serve") "port" 8420 "values" .Values.api "job" "soma-api"
            "part" "api" "stopAfter" .Values.api.stopAfterSeconds)
      (dict "name" "worker-postgres" "process" "worker-postgres" "args" (list "work" "postgres") "port" 9464
            "values" .Values.workers.postgres "job" "soma-worker-postgres" "part" "delivery" "group" "soma-postgres")
      (dict "name" "worker-vectors" "process" "worker-vectors" "args" (list "work" "vectors") "port" 9464
            "values" .Values.workers.vectors "job" "soma-worker-vectors" "part" "delivery" "group" "soma-vectors")
      (dict "name" "worker-retention" "process" "worker-retention" "args" (list "work" "retention") "port" 9464
            "values" .Values.workers.retention "job" "soma-worker-retention" "part" "delivery")
      (dict "name" "lag" "process" "lag" "args" (list "lag" "collect") "port" 9465 "values" .Values.collector
            "job" "soma-lag" "part" "lag") -}}
{{- $enabled := list -}}
{{- range $workloads -}}
{{- if .values.enabled -}}{{- $enabled = append $enabled . -}}{{- end -}}
{{- end -}}
{{- toJson $enabled -}}
{{- end -}}

{{/* Not empty where the API itself speaks TLS: it has a certificate. */}}
{{- define "soma.apiHasTls" -}}
{{- $given := dict "root" . "workload" (dict "process" "api" "values" .Values.api) -}}
{{- if hasKey (index (include "soma.secretSettings" $given | fromJson) "api" | default dict) "tls_certificate_file" -}}true{{- end -}}
{{- end -}}

{{/* How long a workload's stop may take, in seconds: what it goes on for, its drain, and a margin. */}}
{{- define "soma.gracePeriod" -}}
{{- $settings := include "soma.settings" . | fromJson -}}
{{- $drain := index (index $settings .workload.part | default dict) "drain_timeout" | default 10 -}}
{{- add (ceil $drain) (.workload.stopAfter | default 0) .workload.values.terminationMarginSeconds -}}
{{- end -}}

{{/* What holds for every pod. Takes a dictionary of root and serviceAccount. */}}
{{- define "soma.podDefaults" -}}
serviceAccountName: {{ .serviceAccount }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.pods.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* What holds for every container. Takes a dictionary of root and workload. */}}
{{- define "soma.containerDefaults" -}}
image: {{ .workload.image | default (include "soma.image" .root) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
env: {{- include "soma.environment" . | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: secrets, mountPath: /run/secrets/soma, readOnly: true}
  - {name: files, mountPath: /run/files, readOnly: true}
  {{- with .workload.mounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources: {{- toYaml .workload.values.resources | nindent 2 }}
{{- end -}}
