"""For tests, the demo and authors of plug-ins: events like the platform's, and servers to deliver to."""
