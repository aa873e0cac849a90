-- Health of all kinds of the group: they share their conditions. Ready is the summary; Reconciling and Stalled are present only while they
-- are True, and never both. kstatus gives the same verdicts, except that it knows no Suspended.
local status = obj.status or {}
local spec = obj.spec or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]

-- observedGeneration is -1 until the operator has seen the object.
if ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "The operator has not seen this generation yet" }
end

-- An object is suspended by its own spec or by its org. A plan that waits for approval goes on when a person acts, too. Both keep a sync
-- wave waiting, as Progressing does.
if ready.reason == "Suspended" or ready.reason == "AwaitingApproval" then
  return { status = "Suspended", message = ready.message }
end

if conditions["Stalled"] ~= nil and conditions["Stalled"].status == "True" then
  return { status = "Degraded", message = conditions["Stalled"].message }
end

-- A suspended org stays connected: its Ready is about the connection.
if spec.suspend == true then
  return { status = "Suspended", message = "Suspended; " .. ready.message }
end

if ready.status ~= "True" then
  return { status = "Progressing", message = ready.message }
end

-- Ready, with something to know: reported drift, or a limit of the org. None of it is a failure.
local message = ready.message
for _, type in ipairs({ "InSync", "BudgetSufficient", "AuditDelivered" }) do
  local condition = conditions[type]
  if condition ~= nil and condition.status == "False" and condition.message ~= ready.message then
    message = message .. "; " .. condition.message
  end
end
return { status = "Healthy", message = message }
