module github.com/l4starttls/caddy-l4-starttls/interop/testdata/gomail

go 1.26.0

require (
	github.com/c0va23/go-proxyprotocol v0.9.1
	github.com/emersion/go-imap/v2 v2.0.0-beta.8
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6
	github.com/emersion/go-smtp v0.25.1
	github.com/pires/go-proxyproto v0.15.0
)

require github.com/emersion/go-message v0.18.2 // indirect
