package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// userOf reads the `sub` claim, the user's public key, which names the inbox. Nothing is verified here: the server does that.
func userOf(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("it does not have three parts")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("second part: %w", err)
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		return "", fmt.Errorf("second part: %w", err)
	}
	if claims.Subject == "" || strings.Trim(claims.Subject, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return "", errors.New("its sub claim is no public key")
	}
	return claims.Subject, nil
}
