// Package coordinator runs a node's part in the control plane: the data directory's identity, the forming of a group, the
// Raft store and state machine of a voter, the node's session and its lease, the map that every node follows, and on the
// leader the loop that turns plans into entries of the Raft log.
//
// It decides little. What the group's state becomes is fsm's matter, what should be done next is coordinator/plan's; this
// package carries bytes, owns goroutines and clocks, and puts a deadline on every wait.
//
// A Coordinator is made by New, which registers its gRPC service, and brought up by Start once the port serves. Of its
// files: directory and store hold what is on disk; machine is the state machine as Raft sees it; formation, session,
// proposer, watch, follower and report are one conversation each; leader is the loop; inspect and barrier answer
// questions; close takes it all down in order.
package coordinator
