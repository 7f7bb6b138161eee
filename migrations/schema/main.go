// Command schema writes migrations/<kind>/schema.sql from the migrations.
package main

import (
	"context"
	"log"
	"os"

	"octopuses.dev/octopuses/migrations"
)

func main() {
	for name, kind := range map[string]migrations.Kind{"instance": migrations.Instance, "space": migrations.Space} {
		text, err := migrations.Schema(context.Background(), kind)
		if err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(name+"/schema.sql", []byte(text), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
