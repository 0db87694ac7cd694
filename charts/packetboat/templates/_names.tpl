{{/* Names, labels and the image reference that every template uses. Nothing here depends on time, chance or the cluster. */}}

{{/* Prefix of object names: the release, and the chart's name unless the release already says it. */}}
{{- define "packetboat.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "packetboat.operator" -}}
{{ include "packetboat.fullname" . }}-operator
{{- end -}}

{{/* What selects the operator's pods; never changes for a release, because a Deployment's selector cannot. */}}
{{- define "packetboat.selector" -}}
app.kubernetes.io/name: packetboat-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The NetworkPolicy of MTA pods opens their admin port to pods of this name in this namespace: the operator and the test pod. */}}
{{- define "packetboat.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
app.kubernetes.io/name: packetboat-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: packetboat
{{- end -}}

{{- define "packetboat.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else -}}
{{- include "packetboat.operator" . -}}
{{- end -}}
{{- end -}}

{{- define "packetboat.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The MailServer that `helm test` talks to, or nothing. */}}
{{- define "packetboat.testServer" -}}
{{- if .Values.test.server -}}
{{- .Values.test.server -}}
{{- else if .Values.mailServer.create -}}
{{- .Values.mailServer.name -}}
{{- end -}}
{{- end -}}

{{/* The restricted Pod Security Standard, for a container. */}}
{{- define "packetboat.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end -}}
