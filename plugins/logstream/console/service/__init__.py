"""What the console does, apart from HTTP and from Airflow: a file for each subject, as in `pages` and `api`."""

from __future__ import annotations

from logstream.console.service.audit import AuditService
from logstream.console.service.backfills import BackfillService
from logstream.console.service.customers import CustomerService
from logstream.console.service.deliveries import DeliveryService
from logstream.console.service.destinations import DestinationService
from logstream.console.service.messages import MessageService
from logstream.console.service.overview import OverviewService
from logstream.console.service.settings import SettingsService
from logstream.destinations.credentials import Connections
from logstream.export.exporter import Exporter
from logstream.ledger.overview import Overview


class Console:
    """All that the pages and the API ask, by subject. Safe to use from several threads."""

    def __init__(self, store_dsn: str, control_dsn: str, connections: Connections) -> None:
        self.exporter = Exporter(store_dsn, control_dsn, connections)
        self.overview = Overview(self.exporter.engine)
        self.settings = SettingsService(self.exporter, connections)
        self.audit = AuditService(self.exporter, self.settings)
        self.customers = CustomerService(self.exporter, self.overview, self.settings)
        self.destinations = DestinationService(self.exporter, self.overview, self.settings, connections, self.audit)
        self.deliveries = DeliveryService(self.exporter, self.overview, self.settings, self.audit)
        self.backfills = BackfillService(self.exporter, self.overview)
        self.standing = OverviewService(self.exporter, self.settings, self.deliveries)
        self.messages = MessageService(self.exporter, self.settings, self.customers)
