# Two targets do all the set-up: make run, and make test. See CONTRIBUTING.md.

GO ?= go
export CGO_ENABLED ?= 0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

.PHONY: build run test packages lint race fuzz sim bench test-old-kernel generate clean test-supervisorctl

build: ## the static binary, bin/tend
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/tend ./cmd/tend

run: build ## guard the example programs, in the foreground
	bin/tend run -c examples/tend.toml

test: packages lint race ## all checks and tests, as .ci/run does

packages: ## what tests can use of Debian, where it can be installed
	@scripts/test-packages

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these: gofmt -w .'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@scripts/vulncheck

race:
	$(GO) test -timeout 15m ./...
	CGO_ENABLED=1 $(GO) test -timeout 15m -race -short ./...

fuzz: ## every fuzz target for a while
	scripts/fuzz 30s

test-supervisorctl: ## ours beside Debian's, some 300 commands, in minutes
	$(GO) test ./internal/supervisorctl -run Beside -count=1 -timeout 30m -v -beside

sim: ## a long run of the simulated world
	$(GO) test ./internal/sim -run TestRandom -count=1 -timeout 0 -sim.steps 100000000

bench: build ## tend, the bare limit and the peers, side by side
	$(GO) run ./bench -tend bin/tend

test-old-kernel: ## the tests on Linux 6.1, in an emulated machine
	scripts/old-kernel

generate: ## what is made from the code: the reference pages, the schema, the API's description
	$(GO) test ./internal/conf -run Schema -update
	$(GO) run ./cmd/tend-docs
	$(GO) test ./internal/server -run OpenAPI -update

clean:
	rm -rf bin
