"""The Admin console: pages and a REST API in Airflow's UI, where streaming is set up, tested and watched.

`service` does the work and knows neither HTTP nor Airflow; `api` and `pages` are two faces of it; `access` and `runs` are
the only modules that talk to Airflow.
"""
