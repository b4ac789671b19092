module github.com/l4starttls/caddy-l4-starttls/interop/testdata/amqp

go 1.25.0

require github.com/Azure/go-amqp v0.17.0
