package mysql

// The transcripts have to know the challenge.
func init() {
	newChallenge = func() (challenge [challengeSize]byte) {
		copy(challenge[:], "ABCDEFGHIJKLMNOPQRST")
		return challenge
	}
}
