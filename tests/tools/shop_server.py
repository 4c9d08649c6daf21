"""An MCP server for the tests, in this process or by itself: `python -m tools.shop_server`."""

from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel

shop = MCPServer("shop")
ORDERS: list[str] = []


class Order(BaseModel):
    """An order."""

    id: str


@shop.tool(annotations=ToolAnnotations(read_only_hint=True))
def get_order(order: str) -> Order:
    """Look."""
    return Order(id=f"{order}/{len(ORDERS)}")


@shop.tool(annotations=ToolAnnotations(idempotent_hint=True))
def placeOrder(item: str, pieces: int) -> Order:  # noqa: N802 - as strangers name their tools
    """Order."""
    if item == "broken":
        raise ValueError("no such item")
    ORDERS.append(item)
    return Order(id=f"o-{item}-{pieces}")


@shop.tool()
def cancel_order(order: str) -> None:
    """Cancel."""
    ORDERS.append(f"cancelled {order}")


@shop.tool()
def drop_all() -> None:
    """What nobody should be offered."""
    ORDERS.clear()


if __name__ == "__main__":
    shop.run()
