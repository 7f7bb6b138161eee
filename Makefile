# make alone prints what there is.
.DEFAULT_GOAL := help
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X octopuses.dev/octopuses/app.version=$(VERSION)
GO := CGO_ENABLED=0 go
PKGS := ./...

.PHONY: help demo test bench lint generate fuzz cover build release clean tools

help: ## print this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: build ## see a release go from a Dev zone to a Prod zone (ARGS=--exit ends by itself)
	./bin/octopuses demo $(ARGS)

build: ## build bin/octopuses
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/octopuses .

test: tools ## all tests; installs what they need where it may, and says what it skipped
	go vet ./...
	go test -timeout 10m $(PKGS)

tools:
	@for p in bash:bash curl:curl chromium:chromium; do \
	  command -v $${p%%:*} >/dev/null && continue; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $${p##*:}"; apt-get install -y -q $${p##*:} >/dev/null || echo "NOT INSTALLED: $${p##*:}; tests that need it are skipped"; \
	  else echo "MISSING: $${p##*:}; tests that need it are skipped (run as root to have it installed)"; fi; done

bench: ## run the benchmarks; each has its budget in its comment
	go test -p 1 -run '^$$' -bench . -benchtime 1s $$(git grep -l 'func Benchmark' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's,^,./,')

lint: ## gofmt, vet, staticcheck, stale generated code, known vulnerabilities
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	$(MAKE) generate
	@git diff --exit-code --stat -- '*_templ.go' static/dist migrations || (echo "generated code is stale: run make generate and commit"; exit 1)
	@go tool govulncheck ./... 2>/tmp/govulncheck.err || (if grep -q 'vuln.go.dev' /tmp/govulncheck.err; then echo "SKIPPED: the vulnerability database cannot be reached"; else cat /tmp/govulncheck.err; exit 1; fi)

generate: ## templ, bundled CSS and JS, schemas
	go tool templ generate -path views -log-level error
	go generate ./static ./migrations

fuzz: ## each fuzz target for some seconds
	@for p in $$(git grep -l 'func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do for f in $$(grep -ho 'func Fuzz[A-Za-z]*' $$p/*_test.go | cut -c6-); do go test -run '^$$' -fuzz "^$$f$$" -fuzztime 10s ./$$p || exit 1; done; done

cover: ## coverage by package
	go test -cover $(PKGS)

release: ## cross-compile into dist/
	@mkdir -p dist
	@for t in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do echo $$t; GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dist/octopuses-$(VERSION)-$${t%/*}-$${t#*/} . || exit 1; done
	@cd dist && sha256sum octopuses-* > SHA256SUMS

clean: ## remove what was built
	rm -rf bin dist
