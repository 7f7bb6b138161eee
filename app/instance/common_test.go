package instance

import "testing"

func TestEasilyGuessed(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"passwordpassword", "Password12345!", "P@ssw0rd2026!", "aaaaaaaaaaaa", "ababababababab", "123456789012", "qwertyuiop12", "1qaz2wsx3edc", "iloveyou1234", "letmeinletmein", "Welcome--2026", "octopuses123", "AdaAdaAdaAda", "lovelace-1815", "ada.lovelace99", "needforspeed"} {
		if easilyGuessed(p, "ada.lovelace", "Lovelace", "ada@example.com", "octopuses") == "" {
			t.Errorf("%s is taken", p)
		}
	}
	for _, p := range []string{"correct-horse-battery", "mine from now on", "canary-password-01", "8349-2847-1938-4729", "Storefront-1-lantern", "ünïcödé wörter", "xK9#mQ2$vL5&", "lovelace met babbage"} {
		if why := easilyGuessed(p, "ada.lovelace", "Lovelace", "ada@example.com", "octopuses"); why != "" {
			t.Errorf("%s is refused: %s", p, why)
		}
	}
}

// Budget: 5 ms, once for each new password.
func BenchmarkEasilyGuessed(b *testing.B) {
	for b.Loop() {
		easilyGuessed("correct-horse-battery", "ada")
	}
}
