"""What tables are made of where databases differ: partial indexes, and texts compared exactly.

The migration refers to both by their names here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class PartialIndex(models.Index):
    """An index of the rows that meet a condition, or of all rows where a database has no such.

    MySQL and MariaDB do not: theirs is of the fields `elsewhere`, which can put the columns of the
    condition between those that are looked up and those that give the order.
    """

    def __init__(
        self,
        *,
        fields: Sequence[str],
        name: str,
        where: models.Q,
        elsewhere: Sequence[str] | None = None,
    ) -> None:
        # Not as `condition`, at which Django would warn that it is ignored (models.W037).
        super().__init__(fields=fields, name=name)
        self.where = where
        self.elsewhere = elsewhere

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        path, arguments, values = super().deconstruct()
        values["where"] = self.where
        if self.elsewhere is not None:
            values["elsewhere"] = self.elsewhere
        return path, arguments, values

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Any:
        if schema_editor.connection.features.supports_partial_indexes:
            index = models.Index(fields=self.fields, name=self.name, condition=self.where)
        else:
            index = models.Index(fields=self.elsewhere or self.fields, name=self.name)
        return index.create_sql(model, schema_editor, using, **kwargs)


class NameField(models.CharField):  # type: ignore[type-arg]
    """A text that is equal to itself alone: "Order-1" is neither "order-1" nor "Order-1 ".

    PostgreSQL and SQLite compare so by default, MySQL and MariaDB by what suits a language.
    """

    def db_parameters(self, connection: Any) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            mariadb = connection.mysql_is_mariadb
            exact = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
            parameters["collation"] = exact
        return parameters
