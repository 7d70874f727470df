"""What every interop suite needs: start a server, talk raw protocol to it, wait without sleeping blindly."""
