package store

// Locked returns how many keys are locked.
func (b *Backend) Locked() int {
	b.locks.mu.Lock()
	defer b.locks.mu.Unlock()
	return len(b.locks.keys)
}

const (
	MaxAttempts  = maxAttempts
	LongestPause = longestPause
)
