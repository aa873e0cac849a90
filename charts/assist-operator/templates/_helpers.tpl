{{- define "assist-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "assist-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "assist-operator.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Names of cluster-scoped objects carry the namespace: two releases of one name must not share them. */ -}}
{{- define "assist-operator.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "assist-operator.fullname" .) -}}
{{- end -}}

{{- define "assist-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "assist-operator.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "assist-operator.leaseName" -}}
{{- .Values.leaderElection.leaseName | default (include "assist-operator.fullname" .) -}}
{{- end -}}

{{- define "assist-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "assist-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "assist-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "assist-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "assist-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: controller
app.kubernetes.io/part-of: assist-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The operator's own rules: a list [controller…] of files/rules.yaml without what the values take away. */ -}}
{{- define "assist-operator.rules" -}}
{{- $rules := list -}}
{{- range .rules -}}
{{- $secrets := and (has "secrets" .resources) (not $.Values.rbac.secrets) -}}
{{- $texts := and (has "configmaps" .resources) (not $.Values.rbac.configMaps) -}}
{{- if not (or $secrets $texts) -}}
{{- $rules = append $rules . -}}
{{- end -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{- /* What a schema could refuse, but not say. */ -}}
{{- define "assist-operator.check" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) -}}
{{- fail "replicas: more than one needs leaderElection.enabled=true, else all of them would write" -}}
{{- end -}}
{{- with .Values.approval.policy -}}
{{- if and .enabled (not .groups) (not .users) -}}
{{- fail "approval.policy: name at least one of groups and users, else nobody could approve a plan" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics: serviceMonitor and podMonitor would count everything twice; enable one of them" -}}
{{- end -}}
{{- end -}}
