"""All that imports Airflow, but for the console: operators, connections, links, what Airflow is told of Logstream."""
