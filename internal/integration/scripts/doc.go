// Package scripts tests the scripts of the repository.
package scripts
