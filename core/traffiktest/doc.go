// Package traffiktest helps you test limits and backends: a clock that tests set by hand,
// backends that record, fail or are slow, and a check for goroutines left behind.
package traffiktest
