package testkit

// Latin1 makes a rune of each octet, so that a pattern can name them all.
func Latin1[T ~string | ~[]byte](octets T) string {
	runes := make([]rune, len(octets))
	for i := range len(octets) {
		runes[i] = rune(octets[i])
	}
	return string(runes)
}
