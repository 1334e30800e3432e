package main

// verbs is the table: what the command can do, in the order of its help. A new verb is one file and one line here.
func verbs() []verb {
	return []verb{
		devVerb, serveVerb,
		statusVerb, membersVerb, shardsVerb, typesVerb, locateVerb, explainVerb, historyVerb, watchVerb,
		askVerb, tellVerb,
		barrierVerb, quorumVerb,
		planVerb, rebalanceVerb, whatIfVerb,
		cordonVerb, uncordonVerb, maintenanceVerb, drainVerb, pauseVerb, pinVerb, moveVerb, removeVerb, raftVerb,
		recoverVerb, asideVerb, degradeVerb, journalVerb,
		benchVerb, versionVerb,
	}
}
