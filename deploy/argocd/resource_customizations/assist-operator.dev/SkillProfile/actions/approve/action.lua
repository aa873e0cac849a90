-- Lets exactly the plan that waits now run, once. Another plan has another digest.
if obj.status == nil or obj.status.pendingPlan == nil then
  error("no plan waits for approval")
end
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["assist-operator.dev/approve-plan"] = obj.status.pendingPlan.digest
return obj
