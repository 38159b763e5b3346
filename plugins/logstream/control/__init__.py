"""The control database: tables, migrations, engine. Settings and ledger live in it."""
