"""One window's export, in the DAG's own words: wait, plan, deliver, seal, redeliver."""
