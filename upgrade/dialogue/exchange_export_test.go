package dialogue

// HoldsNothing reports whether neither lane has a buffer.
func (x *Exchange) HoldsNothing() bool { return x.fromClient.empty() && x.fromBackend.empty() }
