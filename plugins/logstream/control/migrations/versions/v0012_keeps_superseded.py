"""Whether what a delivery supersedes may be the only copy of events: then nothing of it is removed."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the column."""
    comment = "What it supersedes may hold events that the log store no longer does: nothing of it is removed"
    kept: sa.Column[bool] = sa.Column(
        "keeps_superseded", sa.Boolean(), nullable=False, server_default=sa.false(), comment=comment
    )
    op.add_column("deliveries", kept, schema="logstream")
    op.create_table_comment(
        "superseded_parts",
        "What was put under plans that a newer one has replaced, or is being put: proof/manifests.py",
        schema="logstream",
    )


def downgrade() -> None:
    """Take it away."""
    op.create_table_comment(
        "superseded_parts",
        "What was delivered under plans that a newer one has replaced: proof/manifests.py",
        schema="logstream",
    )
    op.drop_column("deliveries", "keeps_superseded", schema="logstream")
