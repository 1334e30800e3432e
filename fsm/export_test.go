package fsm

// EncodeUnchecked is Encode without its checks, to show that nodes make them again.
func EncodeUnchecked(commands ...Command) []byte {
	envelopes := make([]envelope, len(commands))
	for i, c := range commands {
		body, err := encoding.Marshal(c)
		if err != nil {
			panic(err)
		}
		envelopes[i] = envelope{rowOf(c).kind, body}
	}
	body, err := encoding.Marshal(envelopes)
	if err != nil {
		panic(err)
	}
	return append([]byte{1}, body...)
}
