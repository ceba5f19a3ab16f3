package traffikredis

import (
	"context"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
)

// servers is what it takes to reach the keys of a Backend. The store of the engine has only
// this, not the Backend that holds the engine.
type servers struct {
	client  goredis.UniversalClient
	single  bool          // no Cluster and no Ring
	prefix  string        // what all keys begin with
	slot    string        // the hash tag of all keys, if there is one
	clock   traffik.Clock // nil for that of Redis
	closing chan struct{} // closed by Close
}

// slot says which keys one script call can use together: those of one slot of a Cluster, or
// of one hash tag of a Ring. All keys on a single server have the zero slot.
type slot struct {
	number uint16
	tag    string
}

// slotOf returns the slot of ops, or false if they lie in several.
func (s *servers) slotOf(ops []traffik.Op) (where slot, together bool) {
	where = s.slotOfKey(ops[0].Key)
	for i := range ops[1:] {
		if ops[1+i].Key.ID != ops[0].Key.ID && s.slotOfKey(ops[1+i].Key) != where {
			return where, false
		}
	}
	return where, true
}

func (s *servers) slotOfKey(key traffik.Key) slot {
	if s.single {
		return slot{}
	}
	tag := s.slot
	if tag == "" {
		tag = string(appendPart(nil, key.ID))
	}
	if _, ring := s.client.(*goredis.Ring); ring {
		return slot{tag: tag}
	}
	return slot{number: hashSlot(tag)}
}

// queues holds a queue for each server, so that a server that hangs holds up nobody but its
// own callers.
type queues struct {
	only queue    // of a single server
	all  sync.Map // address to *queue
}

// queueOf returns the queue of the server that has key. It asks no server: a Cluster has one
// queue until its client knows the servers.
func (b *Backend) queueOf(key string) *queue {
	switch client := b.client.(type) {
	case *goredis.ClusterClient:
		if !b.located.Load() {
			break
		}
		if master, err := client.MasterForKey(context.Background(), key); err == nil {
			return b.queueTo(master.Options().Addr)
		}
	case *goredis.Ring:
		if shard, err := client.GetShardClientForKey(key); err == nil {
			return b.queueTo(shard.Options().Addr)
		}
	}
	return b.queueTo("")
}

func (b *Backend) queueTo(addr string) *queue {
	found, known := b.queues.all.Load(addr)
	if !known {
		found, _ = b.queues.all.LoadOrStore(addr, new(queue))
	}
	q, _ := found.(*queue) // the map holds nothing else
	return q
}
