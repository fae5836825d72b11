//go:build !race

package sim

const stepsByDefault = 1_000_000
