// Package bench measures what the plugin costs. See README.md.
package bench
