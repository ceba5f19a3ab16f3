// Package footprint measures what a key costs in memory.
package footprint
