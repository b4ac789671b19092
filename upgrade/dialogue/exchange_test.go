package dialogue

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// A fake is a filter made of functions; what has none passes everything.
type fake struct {
	start                   func(x *Exchange)
	fromClient, fromBackend func(x *Exchange, b []byte) int
	backendEnded            func(x *Exchange)
	clientEnded             func(x *Exchange, rest []byte)
}

func (f *fake) Start(x *Exchange) {
	if f.start != nil {
		f.start(x)
	}
}

func (f *fake) FromClient(x *Exchange, b []byte) int {
	if f.fromClient == nil {
		x.ToBackend(b)
		return len(b)
	}
	return f.fromClient(x, b)
}

func (f *fake) FromBackend(x *Exchange, b []byte) int {
	if f.fromBackend == nil {
		x.ToClient(b)
		return len(b)
	}
	return f.fromBackend(x, b)
}

func (f *fake) BackendEnded(x *Exchange) {
	if f.backendEnded != nil {
		f.backendEnded(x)
	}
}

func (f *fake) ClientEnded(x *Exchange, rest []byte) {
	if f.clientEnded != nil {
		f.clientEnded(x, rest)
	}
}

func with(f *fake) *Exchange {
	return NewExchange(f, func(why error) []byte { return []byte("! " + why.Error()) }, func(string) {})
}

// clientSays is ClientSays with plenty of room.
func clientSays(x *Exchange, text string) string {
	out := make([]byte, 1<<16)
	return string(out[:x.ClientSays([]byte(text), out)])
}

func TestExchangeWithoutFilter(t *testing.T) {
	x := NewExchange(nil, nil, nil)
	require.True(t, x.Detached())
	require.True(t, x.Greeted())
	require.Equal(t, "up", clientSays(x, "up"))
	require.Equal(t, "down", string(x.BackendSays([]byte("down"))))
}

// What is held is kept, and fed when it is released.
func TestExchangeHolds(t *testing.T) {
	x := with(&fake{start: (*Exchange).Hold})
	require.True(t, x.Held())
	require.False(t, x.Greeted())
	require.Empty(t, clientSays(x, "one "))
	require.False(t, x.HasForBackend())
	require.True(t, x.HasFromClient())
	x.Release()
	require.True(t, x.Greeted())
	require.True(t, x.HasForBackend())
	require.Equal(t, "one two", clientSays(x, "two"))
	require.False(t, x.HasForBackend())
	require.False(t, x.HasFromClient())
}

// What may be read of a client that is held is bounded, and of one that is not is not.
func TestExchangeRoom(t *testing.T) {
	x := with(&fake{start: (*Exchange).Hold})
	require.Equal(t, 100, x.Room(100))
	clientSays(x, string(make([]byte, maxAhead-10)))
	require.Equal(t, 10, x.Room(100))
	clientSays(x, string(make([]byte, 20)))
	require.Zero(t, x.Room(100))
	x.Release()
	require.Equal(t, 100, x.Room(100))
}

// Holding takes effect at once: what is behind it in the same read waits.
func TestExchangeHoldsAmidARead(t *testing.T) {
	x := with(&fake{fromClient: func(x *Exchange, b []byte) int {
		x.ToBackend(b[:1])
		x.Hold()
		return 1
	}})
	require.Equal(t, "a", clientSays(x, "abc"))
	x.Release()
	require.Equal(t, "b", clientSays(x, ""))
	x.BackendEnded()
	require.False(t, x.Held())
	require.Equal(t, "c", clientSays(x, ""), "nothing is held for a backend that has ended")
	require.Equal(t, "de", clientSays(x, "de"))
}

// A filter that leaves has what it has not consumed pass in both directions.
func TestExchangeDetach(t *testing.T) {
	for name, leave := range map[string]func(x *Exchange) (client, backend string){
		"client": func(x *Exchange) (client, backend string) {
			backend = clientSays(x, "!two")
			return string(x.DeliverToClient()), backend
		},
		"backend": func(x *Exchange) (client, backend string) {
			client = string(x.BackendSays([]byte("!two")))
			require.True(t, x.HasForBackend())
			return client, clientSays(x, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			judge := func(x *Exchange, b []byte) int {
				if b[len(b)-1] == 'o' {
					x.Detach()
				}
				return 0
			}
			x := with(&fake{fromClient: judge, fromBackend: judge})
			require.Empty(t, clientSays(x, "up"))
			require.Empty(t, x.BackendSays([]byte("down")))
			client, backend := leave(x)
			require.True(t, x.Detached())
			if name == "client" {
				require.Equal(t, "down", client, "it does not wait for the backend's next word")
				require.Equal(t, "up!two", backend)
			} else {
				require.Equal(t, "down!two", client)
				require.Equal(t, "up", backend)
			}
			require.True(t, x.fromClient.empty() && x.fromBackend.empty())
		})
	}
}

// A filter may speak to the backend itself, also where the client is held.
func TestExchangeSpeaksToTheBackend(t *testing.T) {
	x := with(&fake{start: (*Exchange).Hold, fromBackend: func(x *Exchange, b []byte) int {
		x.ToBackend([]byte("hello"))
		return len(b)
	}})
	require.Empty(t, x.BackendSays([]byte("who is there?")))
	require.True(t, x.HasForBackend())
	require.Equal(t, "hello", clientSays(x, ""))
	require.False(t, x.HasForBackend())
}

// Last words begin a line, though a line of the backend's has not ended.
func TestExchangeCloseAmidLine(t *testing.T) {
	for amid, want := range map[bool]string{true: "214-half\r\n! malformed input", false: "214-half! malformed input"} {
		x := with(&fake{fromBackend: func(x *Exchange, b []byte) int {
			x.ToClient(b)
			x.AmidLine(amid)
			return len(b)
		}})
		got := string(x.BackendSays([]byte("214-half")))
		x.CloseFor(ErrMalformed)
		require.Equal(t, want, got+string(x.DeliverToClient()))
	}
	x := with(&fake{})
	x.AmidLine(true)
	x.Close(nil)
	require.Empty(t, x.DeliverToClient(), "there are no last words")
}

// Last words end an exchange, once, and neither side hears more of the other.
func TestExchangeClose(t *testing.T) {
	x := with(&fake{fromClient: func(x *Exchange, _ []byte) int {
		x.CloseFor(ErrMalformed)
		x.Close([]byte("again"))
		return 1
	}})
	require.Empty(t, clientSays(x, "abc"))
	require.True(t, x.Closed())
	require.True(t, x.HasForBackend(), "an end")
	require.Equal(t, "! malformed input", string(x.DeliverToClient()))
	require.Empty(t, x.BackendSays([]byte("more")))
	require.Empty(t, clientSays(x, "def"))
	x.BackendEnded()
	require.Empty(t, x.DeliverToClient())
	require.True(t, x.fromClient.empty() && x.fromBackend.empty())
}

// A backend's last word that no filter has understood is the client's; a client's is
// dropped, unless the filter wants it.
func TestExchangeEnds(t *testing.T) {
	nothing := func(*Exchange, []byte) int { return 0 }
	x := with(&fake{fromBackend: nothing})
	require.Empty(t, x.BackendSays([]byte("half a li")))
	x.BackendEnded()
	require.Equal(t, "half a li", string(x.DeliverToClient()))

	x = with(&fake{fromClient: nothing})
	require.Empty(t, clientSays(x, "half a li"))
	x.ClientEnded()
	require.False(t, x.HasForBackend())

	ends := 0
	x = with(&fake{fromClient: nothing, clientEnded: func(x *Exchange, rest []byte) {
		ends++
		x.ToBackend(rest)
	}})
	require.Empty(t, clientSays(x, "half a li"))
	x.ClientEnded()
	x.ClientEnded()
	require.Equal(t, 1, ends)
	require.Equal(t, "half a li", clientSays(x, ""))
}

// Of a client whose backend has ended no more is kept than of any other.
func TestExchangeKeepsLittleBehindTheEnd(t *testing.T) {
	x := with(&fake{fromClient: func(*Exchange, []byte) int { return 0 }})
	x.BackendEnded()
	for range 100 {
		require.Empty(t, clientSays(x, string(make([]byte, 1000))))
		require.LessOrEqual(t, len(x.fromClient.arrived), MaxFiltered)
	}
}

// TLS begins behind what was consumed, when all of that is delivered.
func TestExchangeUpgrade(t *testing.T) {
	x := with(&fake{fromClient: func(x *Exchange, b []byte) int {
		if b[0] != '!' {
			x.ToBackend(b[:1])
			return 1
		}
		x.Upgrade([]byte("go"))
		x.Detach()
		return 1
	}})
	out := make([]byte, 1)
	require.Equal(t, 1, x.ClientSays([]byte("ab!hello"), out))
	require.False(t, x.WantsUpgrade())
	require.True(t, x.HasForBackend())
	require.Equal(t, 1, x.DeliverToBackend(out))
	require.True(t, x.WantsUpgrade())
	require.True(t, x.HasForBackend(), "somebody must see to it")
	require.Zero(t, x.ClientSays(nil, out), "what is behind it is not plaintext")
	behind, goAhead := x.TakeUpgrade()
	require.Equal(t, "hello", string(behind))
	require.Equal(t, "go", string(goAhead))
	require.False(t, x.WantsUpgrade())
	require.False(t, x.HasForBackend())
	require.Equal(t, "inside", clientSays(x, "inside"))
}

func TestExchangeWarns(t *testing.T) {
	var got []string
	x := NewExchange(new(fake), func(error) []byte { return nil }, func(text string) { got = append(got, text) })
	x.Warn("mind this")
	require.Equal(t, []string{"mind this"}, got)
	x.CloseFor(errors.New("whatever"))
	require.False(t, x.HasForClient())
	require.True(t, x.Closed())
}
