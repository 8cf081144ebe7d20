package event_test

import (
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
)

func BenchmarkCommitEncode(b *testing.B) {
	c := newCommit(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommitDecode(b *testing.B) {
	raw, err := newCommit(1).Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.DecodeCommit(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLeaf(b *testing.B) {
	c := newCommit(1)
	b.ReportAllocs()
	for b.Loop() {
		c.Leaf(0)
	}
}

func BenchmarkEncodePayload(b *testing.B) {
	fields, err := event.DecodePayload(newCommit(1).Events[0].Payload)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.EncodePayload(fields); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBlock(b *testing.B) {
	for _, n := range []int{1, 100} {
		block := newBlock(b, n)
		raw := block.Encode()
		b.Run(fmt.Sprintf("encode/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				block.Encode()
			}
		})
		b.Run(fmt.Sprintf("decode/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := event.DecodeBlock(raw, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTreeAppend(b *testing.B) {
	leaf := newCommit(1).Leaf(0)
	b.ReportAllocs()
	var tree event.Tree
	for b.Loop() {
		tree = tree.Append(leaf)
	}
}

func BenchmarkTreeRoot(b *testing.B) {
	leaf := newCommit(1).Leaf(0)
	var tree event.Tree
	for range 1<<12 - 1 {
		tree = tree.Append(leaf)
	}
	b.ReportAllocs()
	for b.Loop() {
		tree.Root()
	}
}
