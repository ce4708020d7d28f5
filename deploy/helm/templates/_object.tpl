{{/* Each takes a dictionary with the object, which it changes, and the root. */}}

{{/* A number as people write it: Helm's are floats, and 67108864 would be 6.7108864e+07. */}}
{{- define "vecsec.text" -}}
{{- if kindIs "float64" . }}{{ if eq (floor .) . }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}{{ else }}{{ toString . }}{{ end -}}
{{- end -}}

{{- define "vecsec.workload" -}}
{{- $spec := .object.spec -}}
{{- if eq .object.kind "CronJob" }}{{ $spec = $spec.jobTemplate.spec }}{{ end -}}
{{- $pod := $spec.template.spec -}}
{{- $images := .root.Values.images -}}
{{- range $pod.containers -}}
  {{- $name := regexReplaceAll ":.*" .image "" -}}
  {{- $digest := get $images.digests (trimPrefix "vecsec-" $name) -}}
  {{- $reference := ternary (printf "@%s" $digest) (printf ":%s" $images.tag) (ne $digest "") -}}
  {{- $_ := set . "image" (printf "%s%s%s" (empty $images.registry | ternary "" (printf "%s/" $images.registry)) $name $reference) -}}
{{- end -}}
{{- if $images.pullSecrets -}}
  {{- $secrets := list -}}
  {{- range $images.pullSecrets }}{{ $secrets = append $secrets (dict "name" .) }}{{ end -}}
  {{- $_ := set $pod "imagePullSecrets" $secrets -}}
{{- end -}}
{{- end -}}

{{- define "vecsec.service" -}}
{{- $chosen := get .root.Values .component -}}
{{- $container := first .object.spec.template.spec.containers -}}
{{- if $chosen.resources }}{{ $_ := set $container "resources" $chosen.resources }}{{ end -}}
{{- $settings := deepCopy ($chosen.settings | default dict) -}}
{{- if $chosen.replicas -}}
  {{- if hasKey .object.spec "replicas" }}{{ $_ := set .object.spec "replicas" $chosen.replicas }}{{ end -}}
  {{- /* As many as there are at least: tenants have their whole limits then. */ -}}
  {{- if eq .component "gateway" }}{{ $_ := set $settings "VECSEC_GATEWAY_REPLICAS" (toString $chosen.replicas) }}{{ end -}}
{{- end -}}
{{- if $settings -}}
  {{- $kept := list -}}
  {{- range $container.env -}}
    {{- if hasKey $settings .name -}}
      {{- $kept = append $kept (dict "name" .name "value" (include "vecsec.text" (get $settings .name))) -}}
      {{- $_ := unset $settings .name -}}
    {{- else }}{{ $kept = append $kept . }}{{ end -}}
  {{- end -}}
  {{- range $name := keys $settings | sortAlpha }}{{ $kept = append $kept (dict "name" $name "value" (include "vecsec.text" (get $settings $name))) }}{{ end -}}
  {{- $_ := set $container "env" $kept -}}
{{- end -}}
{{- end -}}

{{- define "vecsec.claims" -}}
{{- $storage := .root.Values.storage -}}
{{- $sizes := dict "chroma" $storage.store "data" $storage.store "audit" $storage.audit "violations" $storage.violations -}}
{{- range .object.spec.volumeClaimTemplates -}}
  {{- $size := get $sizes .metadata.name -}}
  {{- if $size }}{{ $_ := set .spec.resources.requests "storage" $size }}{{ end -}}
  {{- if $storage.class }}{{ $_ := set .spec "storageClassName" $storage.class }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "vecsec.scaler" -}}
{{- $chosen := get .root.Values (trimPrefix "vecsec-" .object.metadata.name) -}}
{{- if $chosen.replicas }}{{ $_ := set .object.spec "minReplicas" $chosen.replicas }}{{ end -}}
{{- if $chosen.maxReplicas }}{{ $_ := set .object.spec "maxReplicas" $chosen.maxReplicas }}{{ end -}}
{{- if gt (int .object.spec.minReplicas) (int .object.spec.maxReplicas) -}}
  {{- fail (printf "%s: maxReplicas is %d, fewer than the %d replicas that there are at least" .object.metadata.name (int .object.spec.maxReplicas) (int .object.spec.minReplicas)) -}}
{{- end -}}
{{- end -}}
