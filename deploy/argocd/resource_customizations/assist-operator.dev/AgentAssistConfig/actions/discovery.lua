local suspended = obj.spec.suspend == true
local waiting = obj.status ~= nil and obj.status.pendingPlan ~= nil

return {
  reconcile = { displayName = "Reconcile", iconClass = "fa fa-fw fa-sync", disabled = suspended },
  suspend = { displayName = "Suspend", iconClass = "fa fa-fw fa-pause", disabled = suspended },
  resume = { displayName = "Resume", iconClass = "fa fa-fw fa-play", disabled = not suspended },
  approve = { displayName = "Approve plan", iconClass = "fa fa-fw fa-check", disabled = suspended or not waiting },
}
