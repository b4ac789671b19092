package dialogue

import "sync"

// Once lends protocols a value that is made when somebody asks for it first, and is the same
// for all sessions from then on. They may not share anything else.
func Once[T any](value func() T) func() T { return sync.OnceValue(value) }
