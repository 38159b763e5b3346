"""What destinations share about sending: secrets that must not come back, answers, requests and objects."""
