// Package load puts load on a system and measures it: closed and open loops, histograms of latency, and what the operating
// system says a process used. The programs of the benchmark, Muster's own and the references beside it, share it, so
// that two figures that are compared were taken by the same code.
package load
