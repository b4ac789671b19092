# Prints each package and its test that failed, from the output of go test -v.
# A package that failed without a test's name (a panic, a build, a timeout) has "-" there.
# Tests that a panic or the time limit cut off have no line of their own.
/^--- FAIL: / { failed[++n] = $3 }
/^(panic: |FAIL\t.*\[build failed\])/ { broken = 1 }
/^(ok  |FAIL)\t/ {
	if ($1 == "FAIL") {
		if (n == 0 || broken) print $2, "-"
		else for (i = 1; i <= n; i++) print $2, failed[i]
	}
	n = 0; broken = 0
}
