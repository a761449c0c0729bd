"""Results for other systems of a plant or a house: MQTT, OPC UA and signed webhooks."""
