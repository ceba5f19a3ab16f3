// Package traffiktest helps applications and backends to test their limits: a clock that
// tests set by hand, backends that record, fail or are slow, and a check for goroutines left
// behind.
package traffiktest
